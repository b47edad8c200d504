"""From many commands to one agreed order, and back to their answers. See DESIGN.md."""
