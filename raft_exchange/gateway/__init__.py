"""HTTP on the outside, commands and events on the inside. See DESIGN.md."""
