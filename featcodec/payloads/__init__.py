"""NumPy arrays to payload bytes and back: what runs on a device without torch. Families and codecs call it."""
