"""Server functions of Earth Engine, by noun. `registry` holds them all."""
