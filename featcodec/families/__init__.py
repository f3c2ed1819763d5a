"""The bases that codecs are made from, one family a file."""
