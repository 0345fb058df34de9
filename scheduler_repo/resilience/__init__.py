"""What surrounds every public call: policies, chained by a ``Resilience`` and put around it by ``apply()``.

``layers`` makes the chain of each layer of this package; ``operation`` is what a policy knows of the call that
it surrounds; ``transient`` says which failures pass by themselves. Users may chain policies of their own.
"""
