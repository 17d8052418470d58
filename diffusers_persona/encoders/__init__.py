"""Image, face and text encoders, by their role beside a host, and the networks that map their features."""
