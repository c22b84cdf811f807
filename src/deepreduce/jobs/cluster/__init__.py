"""Jobs on a Ray cluster, their files in a folder or at an S3 URL that all machines reach (docs/operate/cluster.md)."""
