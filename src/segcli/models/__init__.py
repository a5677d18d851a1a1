"""The systems. Each package is one published system; none imports another; what two share is layers/ or backbones/."""
