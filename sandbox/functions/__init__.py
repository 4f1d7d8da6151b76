"""Server functions of Earth Engine, by noun. `library` holds them all."""
