"""`python -m services.chaos`: the demo's shop sells while everything that it stands on is broken, by a seeded schedule.

options    what to do, from the command line       schedule   a pure function: seed -> what is done to whom, and when
proxy      one link that is cut, swallowed, slowed network    all links of a run, and who goes through which
shop       the processes, each behind its links    shoppers   an open loop of checkouts, whatever happens
faults     does what the schedule says             progress   who has moved since, and who stands still
run        one run, from the first to the last     state      what a person would ask first when something stands still
report     what was done, how soon all moved again, and the books
"""
