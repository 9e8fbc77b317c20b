"""SavedModels and models.conf, and what TensorFlow does with them."""
