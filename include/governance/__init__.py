"""Where a number came from: from a prediction back to the landing files, and as events for a lineage server."""
