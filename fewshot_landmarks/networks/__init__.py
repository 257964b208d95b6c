"""Feature extractors, what stands on them, and depthwise convolution."""
