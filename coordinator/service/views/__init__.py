"""What is shown: one typed model per noun, used by the service, HTTP and the command line alike.

Each module owns the fields, units and words of its nouns, and how they follow from the core's
values. Refuses to read a store (``service.queries`` does) or to decide. The fields are the JSON of
the API: instants are RFC 3339 in UTC with a ``Z``; lease tokens are shown to their owner alone.
"""
