"""Growth: propose → score → select → apply. `gearnn.growth.step.grow` is the door."""
