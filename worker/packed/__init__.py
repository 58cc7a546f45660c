"""Training several jobs of one network shape together: one step moves all of them."""
