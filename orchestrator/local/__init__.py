"""The local stack: PostgreSQL out of a wheel and Apache Kafka out of its jars, run by a small keeper of our own.

For `make demo`, `make up`, `amends dev` and the tests: no Docker, Java, PostgreSQL or Kafka has to be installed. It is
a stack to play and to test on: one broker, no passwords, loopback only. In production nothing here is imported.

What belongs to one stack lies in its var directory:

    ports.json        name -> port; taken from 20000-29999, kept from run to run
    stack.json        where the running servers are (written when all are ready)
    run/NAME.json     pid and start time of each child, so that the next keeper can end what a killed one left behind
    run/keeper.lock   held by the one keeper of this directory
    run/keeper.sock   where a keeper in the background is asked to kill, stop or start a service (control.json)
    log/NAME.log      what each program printed
    postgres/ kafka/  the data

Shared by all stacks of a user, in `paths.cache_dir()`: the jars, Kafka's start-up cache, and the register of ports.
"""
