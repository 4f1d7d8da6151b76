"""Maps of GeoTIFFs and stores by the network of a finished transfer run."""
