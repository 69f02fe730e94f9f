"""Thirteen classic loops in plain Python, as one writes them first: the oracle that the C++ ones must equal, bit for bit."""

import math


def euclidean(a, b):
    total = 0.0
    for x, y in zip(a, b):
        total += (x - y) * (x - y)
    return math.sqrt(total)


def dot_product(a, b):
    total = 0.0
    for x, y in zip(a, b):
        total += x * y
    return total


def normalize_pixels(pixels):
    result = []
    for pixel in pixels:
        result.append(pixel / 255.0)
    return result


def running_mean(numbers):
    total, result = 0.0, []
    for count, x in enumerate(numbers, 1):
        total += x
        result.append(total / count)
    return result


def count_pairs(tokens):
    counts = {}
    for pair in zip(tokens, tokens[1:]):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def bpe_encode(tokens, merges, first_new=256):
    tokens = list(tokens)
    for number, (left, right) in enumerate(merges):
        result, i = [], 0
        while i < len(tokens):
            if tokens[i] == left and i + 1 < len(tokens) and tokens[i + 1] == right:
                result.append(first_new + number)
                i += 2
            else:
                result.append(tokens[i])
                i += 1
        tokens = result
    return tokens


def standard_scale(numbers):
    if not numbers:
        return []
    total = 0.0
    for x in numbers:
        total += x
    mean, squares = total / len(numbers), 0.0
    for x in numbers:
        squares += (x - mean) * (x - mean)
    variance = squares / len(numbers)
    deviation = math.sqrt(variance) if variance else 1.0
    return [(x - mean) / deviation for x in numbers]


def min_max_scale(numbers):
    if not numbers:
        return []
    low = high = numbers[0]
    for x in numbers:
        if x != x:
            return [math.nan] * len(numbers)
        if x < low:
            low = x
        if x > high:
            high = x
    extent = high - low if high != low else 1.0
    return [(x - low) / extent for x in numbers]


def l2_normalize(numbers):
    square = 0.0
    for x in numbers:
        square += x * x
    length = math.sqrt(square) if square else 1.0
    return [x / length for x in numbers]


def convolve1d(signal, kernel):
    width, result = len(kernel), []
    for i in range(len(signal) - width + 1):
        total = 0.0
        for k in range(width):
            total += signal[i + k] * kernel[width - 1 - k]
        result.append(total)
    return result


def moving_average(numbers, window):
    result = []
    for i in range(len(numbers) - window + 1):
        total = 0.0
        for x in numbers[i : i + window]:
            total += x
        result.append(total / window)
    return result


def diff(numbers):
    result = []
    for i in range(len(numbers) - 1):
        result.append(numbers[i + 1] - numbers[i])
    return result


def cumsum(numbers):
    total, result = 0.0, []
    for x in numbers:
        total += x
        result.append(total)
    return result
