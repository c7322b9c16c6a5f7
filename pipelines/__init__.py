"""What runs and in what order: Beam graphs, the configuration, the command line."""
