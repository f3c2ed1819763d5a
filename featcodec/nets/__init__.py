"""Networks and densities that learned codecs are built from."""
