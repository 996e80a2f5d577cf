"""Features: what each one is, and how their values are put together as they were known at a time."""
