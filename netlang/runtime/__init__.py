"""Everything that happens at run time: networks, training, data sources, preprocessing, artifacts."""
