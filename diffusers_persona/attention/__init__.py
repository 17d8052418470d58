"""What lives inside attention modules: map stores, masks, further attention."""
