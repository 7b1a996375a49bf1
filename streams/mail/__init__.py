"""Mail: from the bytes that the world sends to what they say, and what somebody should make of them."""
