"""The replicated state machine: pure, integer, deterministic. See DESIGN.md."""
