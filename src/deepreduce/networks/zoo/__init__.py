"""The networks that are built in, by name, each in the form that its paper gives it for small images."""
