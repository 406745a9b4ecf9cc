"""Client configuration formats as data: read now, written back in the shape they came in."""
