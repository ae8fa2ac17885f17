"""The demo shop: what its services have agreed on, the services, the saga that uses them, and who checks the books.

contracts  what travels            checkout   the saga                  sagas, app   what the processes run
orders, stock, payments, shipping  four participants, each with a database of its own
analytics  a plain consumer        gateway    another company's payment gateway, over HTTP
auditor    shares nothing with the runtime: reads everybody's books     demo         drives it all, and kills
"""
