"""The data plane: clients, backends, pools and what keeps their sessions apart."""
