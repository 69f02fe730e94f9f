"""Exercise 1, solved: the rectangle is a view, and both steps write where they read."""

import zero_copy as zc


def retouch(image, top, left, height, width, contrast, brightness):
    """Changes ``image[top : top + height, left : left + width]`` and returns `image` itself."""
    rectangle = image[top : top + height, left : left + width]
    zc.scale_inplace(rectangle, contrast)
    zc.add(rectangle, brightness, out=rectangle)
    return image
