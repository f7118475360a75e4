"""A third kind of layer, through the public records alone: root-mean-square norm, its requirements, and layers."""
