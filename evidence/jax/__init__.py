"""What is shown of JAX models: plans beside those of their torch twins, signals, and a peer."""
