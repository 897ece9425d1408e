# What a supernet is trained on and searched for: 11 * 7 * 3 * 7 * 4 = 6468
# sub-networks. Shorten a list to search less; the lists name nominal image
# sizes, each rounded to the nearest multiple of patch_size * num_windows.
search_space = dict(
    resolutions=list(range(320, 961, 64)),  # px
    patch_sizes=[12, 14, 16, 18, 20, 24, 28],  # px
    num_windows=[1, 2, 4],  # per side
    num_decoder_layers=[0, 1, 2, 3, 4, 5, 6],  # 0: the proposals alone
    num_queries=[50, 100, 200, 300])

# A step leaves the decoder layers that it has not drawn without gradients.
find_unused_parameters = True
