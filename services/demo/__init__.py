"""`python -m services.demo`: a shop on a real Kafka and a real Postgres, whose processes are killed while it sells.

options    what to do, from the command line       basket   what is ordered, and the list that the auditor begins from
world      databases, topics, addresses of a run   shop     the processes: start, kill, start again
driver     keeps so many checkouts open            look     which stage each open saga is in, all processes frozen
faults     what is done to the shop, in order      board    what there is to see, asked from the databases
view       shows it                                report   how each order ended, the books, and the proof
"""
