"""trunkline: a production runtime for the Model Context Protocol."""
