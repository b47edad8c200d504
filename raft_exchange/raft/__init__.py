"""The only place that knows pysyncobj: one replicated, durable log of opaque bytes."""
