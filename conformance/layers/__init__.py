"""The kinds of layer: a module each, with everything that the suite knows of it. No other room tells them apart."""
