"""Where to cut and what to send: profile, links, select, prune, search."""
