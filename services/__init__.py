"""The shop: what its services have agreed on, the services, the sagas that use them, and who checks the books.

contracts  what travels            checkout   a saga: charged at once   sagas, app   what the processes run
orders, stock, payments, shipping  four participants, each with a database of its own
delivery   a saga whose customer pays on the provider's page, with its webhook, e-mails, receipts and auditor
analytics  a plain consumer        gateway    another company's payment gateway, over HTTP
auditor    shares nothing with the runtime: reads everybody's books     demo         drives it all, and kills
"""
