"""A MONAI Label app whose models register images: labels, images, fields and transforms from a reference."""
