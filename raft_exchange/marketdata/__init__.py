"""What anybody may know of the markets: pure folds of events. See DESIGN.md."""
