"""What ``fieldstation doctor`` looks at: each check is a small function that changes nothing."""
