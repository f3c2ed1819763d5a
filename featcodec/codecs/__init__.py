"""One file per codec; featcodec.registry names them."""
