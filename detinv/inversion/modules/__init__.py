"""The LightningModules whose parameters are pixels, and the frozen networks they run."""
