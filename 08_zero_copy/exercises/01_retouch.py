"""Exercise 1. Change a rectangle of a picture in place: neither the rest of it nor any new memory may be touched.

Write `retouch`. `image` is a 2-D float32 or float64 array. Every item of the rectangle becomes ``item * contrast +
brightness``. Use this lesson's functions with `out=`, or its in-place functions; a slice of an array is a view.
"""

import zero_copy as zc  # noqa: F401


def retouch(image, top, left, height, width, contrast, brightness):
    """Changes ``image[top : top + height, left : left + width]`` and returns `image` itself."""
    return image
