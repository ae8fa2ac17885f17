"""The shop floor: the page's server, and what stands behind its buttons. One process, on the loopback interface.

    python -m services.floor --port 8080

/            static/, the page
/amends/     the product's HTTP API, mounted as anybody would (docs/reference/http.md)
/floor/      what only a toy shop has: its books, its plugs, the gateway's moods, orders placed by the dozen

The books are those of the services and of the gateway, never the runtime's journal: the page must be able to say that
the runtime is wrong. What is honest about each figure stands in docs/floor.md.

books  arithmetic, pure       ledger  what was read, by order      sources  the services' tables and the gateway's book
picture  what is shown now    watch   reads while somebody looks   listeners  who hears of what changed
plugs  through the keeper     provider  the gateway's admin side   placing  orders, one or a stream of them
web  the routes               door    who may come in              application  all of it as one ASGI app
"""
