"""What ./scripts/learn, test, bench and check are made of. Nothing here is needed to build or ship a lesson."""
