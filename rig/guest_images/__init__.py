"""What a guest contains, and how that is built and cached; `image.ensure` is the way in."""
