"""The link: frames on a stream of octets, who is at its other end, and what it travels on."""
