"""Image, face and text encoders, by the role that they have beside a host, and the networks that map their features."""
