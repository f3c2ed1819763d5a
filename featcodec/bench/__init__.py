"""What ``featcodec bench`` and ``featcodec train`` need: data, an embedded network with trained codecs, tables and plots."""
