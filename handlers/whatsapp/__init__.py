"""WhatsApp: the provider's interface, a local provider for development, and Brazil's phone numbers."""
