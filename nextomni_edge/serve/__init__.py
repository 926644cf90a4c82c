"""A server over HTTP, which existing clients speak to: OpenAI's interface, our own for the flow,
and a page to play with.

The extra `serve` installs what it needs. It sits on `nextomni_edge.api`, and only the command line
imports it. A request goes through these files in this order: `connection.py` (bounds on sockets),
`guard.py` (who may ask), `body.py` (how much), a file of `routes/`, `prompts.py` (media and turns),
`jobs.py` and `engine.py` (the queue and the computation), and back through the route.
"""
